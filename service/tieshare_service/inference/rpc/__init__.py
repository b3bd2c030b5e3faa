"""The inference protocol over gRPC.

messages  the protocol's messages, made from one table
codec     inference requests and responses
service   one function a method, and the server
"""
