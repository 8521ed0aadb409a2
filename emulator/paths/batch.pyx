"""The compiled twin of `batch.py`, which says what it does: packets in memory of C, sent by one system call."""

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_CheckExact, PyByteArray_GET_SIZE
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy

from typing import NamedTuple

from emulator.interfaces import AddressType, InterfaceTable

cdef extern from "<sys/socket.h>" nogil:
    ctypedef unsigned int socklen_t
    int AF_INET, AF_INET6, MSG_DONTWAIT, SOL_SOCKET, SO_MARK
    struct iovec:
        void *iov_base
        size_t iov_len
    struct msghdr:
        void *msg_name
        socklen_t msg_namelen
        iovec *msg_iov
        size_t msg_iovlen
        void *msg_control
        size_t msg_controllen
    struct mmsghdr:
        msghdr msg_hdr
        unsigned int msg_len
    struct cmsghdr:
        size_t cmsg_len
        int cmsg_level
        int cmsg_type
    size_t CMSG_LEN(size_t)
    int sendmmsg(int, mmsghdr *, unsigned int, int)
    int setsockopt(int, int, int, const void *, socklen_t)

cdef extern from "<netinet/in.h>" nogil:
    struct in_addr:
        unsigned int s_addr
    struct sockaddr_in:
        unsigned short sin_family
        in_addr sin_addr
    struct in6_addr:
        unsigned char s6_addr[16]
    struct sockaddr_in6:
        unsigned short sin6_family
        in6_addr sin6_addr

cdef enum:
    PACKETS = 128
    OCTETS = 1 << 18
    CONTROL = 24
    ALIKE = 8  # packets in a row from which on it is cheaper to mark the socket than each of them
    SOURCES = 1024

MOST = PACKETS
MOST_OCTETS = OCTETS
KNOWN_SOURCES = SOURCES
NOT_ORDINARY, TAKEN, FULL = 0, 1, 2
_CANNOT_SEND = (AddressType.MULTICAST, AddressType.BROADCAST)

cdef union Name:
    sockaddr_in four
    sockaddr_in6 six

cdef union Control:
    cmsghdr header
    unsigned char octets[CONTROL]

cdef struct Memory:
    mmsghdr messages[PACKETS]
    iovec vectors[PACKETS]
    Name names[PACKETS]
    Control controls[PACKETS]
    unsigned int marks[PACKETS]
    int versions[PACKETS]
    unsigned char octets[OCTETS]


class Refused(NamedTuple):
    place: int
    error: int
    mark: int


cdef class SendBatch:
    def __init__(self):
        self._sources = set()
        self.interfaces = InterfaceTable()

    def __dealloc__(self):
        free(self._memory)

    cpdef know(self, object interfaces):
        self.interfaces = interfaces
        self._sources.clear()
        self._source_version = 0

    cpdef int take(self, object memory, Py_ssize_t start, Py_ssize_t end, int version) except -1:
        cdef unsigned char *octets
        cdef unsigned char *copy
        cdef Memory *to
        cdef Py_ssize_t have, size = end - start
        cdef int place
        if PyByteArray_CheckExact(memory):
            octets = <unsigned char *>PyByteArray_AS_STRING(memory)
            have = PyByteArray_GET_SIZE(memory)
        elif PyBytes_CheckExact(memory):
            octets = <unsigned char *>PyBytes_AS_STRING(memory)
            have = PyBytes_GET_SIZE(memory)
        else:
            return 0
        if start < 0 or size <= 0 or end > have:
            return 0
        octets += start
        if version == 4:
            if not _ordinary4(octets, size) or not self._may_send(octets + 12, 4, 4):
                return 0
        elif not _ordinary6(octets, size) or not self._may_send(octets + 8, 16, 6):
            return 0
        if self.size == PACKETS or self._octets + size > OCTETS:
            return 2
        if self._memory == NULL:
            self._memory = _new_memory()
        to = <Memory *>self._memory
        place = <int>self.size
        copy = to.octets + self._octets
        memcpy(copy, octets, size)
        to.vectors[place].iov_base = copy
        to.vectors[place].iov_len = size
        to.marks[place] = 0
        to.versions[place] = version
        if version == 4:
            to.names[place].four.sin_family = AF_INET
            memcpy(&to.names[place].four.sin_addr, octets + 16, 4)
            to.messages[place].msg_hdr.msg_namelen = sizeof(sockaddr_in)
        else:
            to.names[place] = _NO_NAME
            to.names[place].six.sin6_family = AF_INET6
            memcpy(&to.names[place].six.sin6_addr, octets + 24, 16)
            to.messages[place].msg_hdr.msg_namelen = sizeof(sockaddr_in6)
        self._octets += size
        self.size += 1
        return 1

    cpdef mark(self, unsigned int mark):
        cdef Memory *to = <Memory *>self._memory
        if self.size == 0:
            raise IndexError("nothing was taken")
        to.marks[self.size - 1] = mark
        memcpy(to.controls[self.size - 1].octets + sizeof(cmsghdr), &mark, sizeof(mark))

    cpdef list send(self, object raw4, object raw6):
        cdef Memory *to = <Memory *>self._memory
        cdef int four = -1 if raw4 is None else raw4.fileno()
        cdef int six = -1 if raw6 is None else raw6.fileno()
        cdef int number, done, descriptor
        cdef Py_ssize_t at = 0, until, count = self.size
        cdef list refused = []
        while at < count:
            descriptor = four if to.versions[at] == 4 else six
            until = _ready(to, at, count, descriptor)
            done = sendmmsg(descriptor, &to.messages[at], <unsigned int>(until - at), MSG_DONTWAIT)
            number = errno
            if done < 0 and number == EAGAIN:  # it has to wait, so others may go on meanwhile
                with nogil:
                    done = sendmmsg(descriptor, &to.messages[at], 1, 0)
                    number = errno
            if done > 0:
                at += done
            elif number != EINTR:
                refused.append(Refused(at, number, to.marks[at]))
                at += 1
        self.size = self._octets = 0
        return refused

    cdef bint _may_send(self, const unsigned char *address, int size, int version) except -1:
        cdef bytes source
        if self._source_version == version and memcmp(self._source, address, size) == 0:
            return True
        source = PyBytes_FromStringAndSize(<const char *>address, size)
        if source not in self._sources:
            if self.interfaces.address_type(source) in _CANNOT_SEND:
                return False
            if len(self._sources) >= SOURCES:
                self._sources.clear()
            self._sources.add(source)
        memcpy(self._source, address, size)
        self._source_version = version
        return True


cdef Name _NO_NAME
_NO_NAME.six.sin6_family = 0


cdef void *_new_memory() except NULL:
    cdef Memory *made = <Memory *>calloc(1, sizeof(Memory))
    cdef int place
    if made == NULL:
        raise MemoryError
    for place in range(PACKETS):
        made.controls[place].header.cmsg_len = CMSG_LEN(sizeof(unsigned int))
        made.controls[place].header.cmsg_level = SOL_SOCKET
        made.controls[place].header.cmsg_type = SO_MARK
        made.messages[place].msg_hdr.msg_name = &made.names[place]
        made.messages[place].msg_hdr.msg_iov = &made.vectors[place]
        made.messages[place].msg_hdr.msg_iovlen = 1
        made.messages[place].msg_hdr.msg_control = &made.controls[place]
    return made


cdef Py_ssize_t _ready(Memory *to, Py_ssize_t at, Py_ssize_t count, int descriptor) noexcept:
    """Where the packets end that go by one call: a row with one mark, which the socket has then, or one version."""
    cdef Py_ssize_t until = at, place
    cdef size_t control = 0
    while until < count and to.versions[until] == to.versions[at] and to.marks[until] == to.marks[at]:
        until += 1
    if until - at < ALIKE or setsockopt(descriptor, SOL_SOCKET, SO_MARK, &to.marks[at], sizeof(to.marks[at])):
        control = CMSG_LEN(sizeof(unsigned int))
        while until < count and to.versions[until] == to.versions[at]:
            until += 1
    for place in range(at, until):
        to.messages[place].msg_hdr.msg_controllen = control
    return until


cdef bint _ordinary4(const unsigned char *octets, Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t header, at
    cdef unsigned long total = 0
    if size < 20 or octets[0] >> 4 != 4:
        return False
    header = (octets[0] & 15) << 2
    if header < 20 or header > size or (octets[2] << 8 | octets[3]) != size:
        return False
    if not (octets[4] | octets[5]) and ((octets[6] & 0x3F) | octets[7]):
        return False  # a fragment without identification
    if octets[16] == 127 and octets[12] != 127:
        return False
    for at in range(0, header, 2):
        total += octets[at] << 8 | octets[at + 1]
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total == 0xFFFF


cdef bint _ordinary6(const unsigned char *octets, Py_ssize_t size) noexcept nogil:
    if size < 40 or octets[0] >> 4 != 6 or (octets[4] << 8 | octets[5]) + 40 != size:
        return False
    return octets[24] != 0xFF and not (octets[24] == 0xFE and octets[25] & 0xC0 == 0x80)
