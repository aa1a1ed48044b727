"""Who is who across the cameras of a site."""
