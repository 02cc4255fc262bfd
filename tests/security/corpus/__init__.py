"""What strangers may send, made by code: each case has a name, and is sent through the service's real entries.

What a single function makes of a single hostile input is tested beside that function; here is what the whole makes of it.
"""
