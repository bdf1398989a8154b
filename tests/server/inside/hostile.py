"""hostile KIND - git-upload-pack of a hostile git host: protocol version 0, one branch, and a handmade pack.

Each kind is a commit without a parent, named after its defect. Caches packs in /tmp.
"""
import hashlib, os, struct, sys, time, zlib

out, kind = sys.stdout.buffer, sys.argv[1]


class Pack:
    def __init__(self):
        self.objects = []

    def raw(self, number, size, body):
        head, size = [number << 4 | size & 15], size >> 4
        while size:
            head[-1] |= 128
            head.append(size & 127)
            size >>= 7
        self.objects.append(bytes(head) + body)

    def add(self, name, data):
        number = {"commit": 1, "tree": 2, "blob": 3}[name]
        self.raw(number, len(data), zlib.compress(data, 1))
        return oid(name, [data], len(data))

    def bytes(self):
        body = b"PACK" + struct.pack(">II", 2, len(self.objects)) + b"".join(self.objects)
        return body + hashlib.sha1(body).digest()


def oid(name, parts, size):
    digest = hashlib.sha1(b"%s %d\0" % (name.encode(), size))
    for part in parts:
        digest.update(part)
    return digest.digest()


def entry(mode, name, of):
    return b"%s %s\0%s" % (mode, name, of)


def zeros(pack):
    """A blob of half a GiB in half a MB."""
    piece, packer = bytes(1 << 20), zlib.compressobj(1)
    body = b"".join(packer.compress(piece) for _ in range(512)) + packer.flush()
    pack.raw(3, 512 << 20, body)
    return entry(b"100644", b"large", oid("blob", [piece] * 512, 512 << 20))


def delta(pack):
    """A blob of 1.5 GiB as a delta of 700 bytes."""
    base = bytes(15 << 20)
    of = pack.add("blob", base)
    size = len(base) * 100

    def number(value):
        text = bytearray()
        while value > 127:
            text.append(value & 127 | 128)
            value >>= 7
        return bytes(text) + bytes([value])

    copies = b"\xf0" + len(base).to_bytes(3, "little")
    text = number(len(base)) + number(size) + copies * 100
    pack.raw(7, len(text), of + zlib.compress(text))
    return entry(b"100644", b"large", oid("blob", [base] * 100, size))


def deep(pack):
    tree = entry(b"100644", b"x", pack.add("blob", b"x"))
    for _ in range(30000):
        tree = entry(b"40000", b"d", pack.add("tree", tree))
    return tree


def wide(pack):
    """Ten to the tenth files."""
    tree = entry(b"100644", b"x", pack.add("blob", b"x"))
    for _ in range(10):
        of = pack.add("tree", tree)
        tree = b"".join(entry(b"40000", b"%d" % n, of) for n in range(10))
    return tree


def names(pack):
    return entry(b"100644", b"n" * 3000, pack.add("blob", b"x"))


def paths(pack):
    tree = entry(b"100644", b"x", pack.add("blob", b"x"))
    for _ in range(90):
        tree = entry(b"40000", b"d" * 200, pack.add("tree", tree))
    return tree


def garbage(_):
    return b"no tree at all"


def missing(_):
    return entry(b"100644", b"x", b"\1" * 20)


def message(pack):
    return entry(b"100644", b"x", pack.add("blob", b"x"))


def packet(data):
    out.write(b"%04x" % (len(data) + 4) + data)


if kind == "drip":
    while True:
        open("/tmp/asked", "w").close()
        packet(b"%040x refs/heads/other\n" % 1)
        out.flush()
        time.sleep(1)
if kind == "refs":
    while True:
        packet(b"%040x refs/heads/%s\n" % (1, os.urandom(1000).hex().encode()))
known = f"/tmp/hostile-{kind}"
if not os.path.exists(known):
    pack = Pack()
    tree = pack.add("tree", globals().get(kind, lambda _: b"")(pack))
    text = b"x" * (40 << 20) if kind == "message" else b"Be %s" % kind.encode()
    who = b"A <a@example.org> 1700000000 +0000"
    commit = pack.add("commit", b"tree %s\nauthor %s\ncommitter %s\n\n%s\n" % (tree.hex().encode(), who, who, text))
    with open(known + ".new", "wb") as file:
        file.write(commit.hex().encode() + pack.bytes())
    os.rename(known + ".new", known)
if kind == "prepare":
    sys.exit()
content = open(known, "rb").read()
packet(content[:40] + b" refs/heads/main\0 \n")
out.write(b"0000")
out.flush()
asked = b""
while b"done" not in asked:
    more = os.read(0, 4096)
    asked += more
    if not more or asked == b"0000":
        sys.exit()
packet(b"NAK\n")
if kind == "stall":
    open("/tmp/asked", "w").close()
    for byte in content[40:] * 2:
        out.write(bytes([byte]))
        out.flush()
        time.sleep(1)
if kind == "endless":
    out.write(b"PACK" + struct.pack(">II", 2, 1 << 20))
    piece = os.urandom(1 << 20)
    while True:
        pack = Pack()
        pack.add("blob", os.urandom(64) + piece)
        out.write(pack.objects[0])
out.write(content[40:])
out.flush()
