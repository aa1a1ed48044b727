"""Pictures and clips in a bucket of S3, or of a server that speaks it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

from ingest.redact import redact
from publish.media.config import MediaConfig
from publish.media.keys import checked, content_type, is_key
from publish.media.retention import Stored
from publish.media.stores import MissingError, Site, StoreError

Result = TypeVar("Result")

CONNECT_S, READ_S = 5, 30
MISSING = {"404", "NoSuchKey"}
NO_BUCKET = {"NoSuchBucket"}


class S3Store:
    """boto3 blocks, and so runs in threads of the loop's pool; its client may be used by several."""

    def __init__(self, config: MediaConfig, site: Site) -> None:
        del site
        assert config.s3 is not None, "the config has been checked"
        self._config = config.s3
        self._lock = Lock()
        self._made: Any = None

    async def put(self, key: str, file: Path, content_type: str) -> None:
        def put() -> None:
            with file.open("rb") as data:
                self._client.put_object(**self._place(key), Body=data, ContentType=content_type)

        await self._do(put)

    async def get(self, key: str) -> bytes:
        return await self._do(lambda: bytes(self._client.get_object(**self._place(key))["Body"].read()))

    async def url(self, key: str) -> str:
        def sign() -> str:
            place = self._place(key)
            self._client.head_object(**place)
            signed = {**place, "ResponseContentType": content_type(key)}
            return str(self._client.generate_presigned_url("get_object", signed, self._config.link_seconds))

        return await self._do(sign)

    async def delete(self, key: str) -> None:
        with suppress(MissingError):
            await self._do(lambda: self._client.delete_object(**self._place(key)))

    async def list(self) -> list[Stored]:
        def found() -> list[Stored]:
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._config.bucket, Prefix=self._config.prefix
            )
            objects = [one for page in pages for one in page.get("Contents", ())]
            keys = ((one["Key"].removeprefix(self._config.prefix), one) for one in objects)
            # Others may keep things in the bucket, which are none of ours to remove.
            return [Stored(key, one["Size"], one["LastModified"].timestamp()) for key, one in keys if is_key(key)]

        return await self._do(found)

    async def close(self) -> None:
        if self._made is not None:
            await asyncio.to_thread(self._made.close)
            self._made = None

    def _place(self, key: str) -> dict[str, str]:
        return {"Bucket": self._config.bucket, "Key": self._config.prefix + checked(key)}

    @property
    def _client(self) -> Any:
        """Made in the thread that needs it first, as that takes a while."""
        with self._lock:
            if self._made is None:
                import boto3
                from botocore.config import Config

                config = self._config
                self._made = boto3.session.Session().client(
                    "s3",
                    endpoint_url=config.endpoint_url,
                    region_name=config.region,
                    aws_access_key_id=config.access_key.get_secret_value() if config.access_key else None,
                    aws_secret_access_key=config.secret_key.get_secret_value() if config.secret_key else None,
                    config=Config(
                        connect_timeout=CONNECT_S,
                        read_timeout=READ_S,
                        retries={"total_max_attempts": 2},
                        signature_version="s3v4",
                        # Other servers have no host name for each bucket.
                        s3={"addressing_style": "path" if config.endpoint_url else "auto"},
                    ),
                )
            return self._made

    async def _do(self, work: Callable[[], Result]) -> Result:
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

        where = f"media.s3.bucket {self._config.bucket}"
        try:
            return await asyncio.to_thread(work)
        except ClientError as error:
            told = error.response.get("Error", {})
            code, status = (
                str(told.get("Code", "")),
                error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0),
            )
            if code in MISSING:
                raise MissingError(f"{where} has no such object") from None
            words = redact(f"{where}: {code}: {told.get('Message', '')}")
            if code in NO_BUCKET:
                raise StoreError("media.store_missing", f"{words}; make the bucket, or name another") from None
            raise StoreError("media.store_away" if status >= 500 else "media.store_refused", words) from None
        except NoCredentialsError:
            mend = "set media.s3.access_key and secret_key, or give the machine a role"
            raise StoreError("media.store_refused", f"{where}: no credentials; {mend}") from None
        except FileNotFoundError as error:
            raise MissingError(f"{error.filename} has gone") from None
        except (BotoCoreError, OSError) as error:
            raise StoreError("media.store_away", redact(f"{where}: {error}")) from None
