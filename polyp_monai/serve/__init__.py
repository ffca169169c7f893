"""The service of `polyp serve`: loaded bundles behind HTTP, for programs, for a page, and for a video that is followed.

`app.create` makes the ASGI application, `server.run` its process. Needs the extra `serve`.
"""
