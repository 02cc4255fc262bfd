"""The client for asyncio. The one for threads is made from these files: `python -m ttm_client.make_synchronous`."""
