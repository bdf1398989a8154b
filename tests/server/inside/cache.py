"""A service on a socket of one group; it answers with the peer's uid, like PostgreSQL's peer authentication."""
import grp
import os
import socket
import struct

os.makedirs("/run/cache", exist_ok=True)
listener = socket.socket(socket.AF_UNIX)
listener.bind("/run/cache/cache.sock")
os.chown("/run/cache/cache.sock", 0, grp.getgrnam("cache").gr_gid)
os.chmod("/run/cache/cache.sock", 0o660)
listener.listen()
while True:
    peer, _ = listener.accept()
    _, uid, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    peer.sendall(b"uid %d" % uid)
    peer.close()
