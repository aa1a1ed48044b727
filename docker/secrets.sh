#!/bin/sh
# Makes the secrets that compose.yaml mounts, those that are missing. Nobody else can enter the folder; the files in it can be
# read, as the containers' users, which have other numbers than yours, must read them.
set -eu
folder=${1:-$(dirname "$0")/secrets}
umask 077
mkdir -p "$folder"
chmod 700 "$folder"
for name in vigil-token vigil-read-token nats-password grafana-password; do
    file=$folder/$name
    if [ ! -e "$file" ]; then
        # Letters first: in the NATS server's config digits alone would be a number.
        printf 'vg%s' "$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')" > "$file.part"
        chmod 444 "$file.part"
        mv "$file.part" "$file"
        echo "made $file"
    fi
done
