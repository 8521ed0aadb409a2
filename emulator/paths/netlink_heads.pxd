from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_FromStringAndSize, PyByteArray_GET_SIZE
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint16_t, uint32_t
from libc.string cimport memcmp, memcpy

cdef inline uint32_t host_long(const char *octets) noexcept:
    cdef uint32_t number
    memcpy(&number, octets, 4)
    return number

cdef inline uint32_t network_long(const char *octets) noexcept:
    cdef const unsigned char *there = <const unsigned char *>octets
    return <uint32_t>there[0] << 24 | <uint32_t>there[1] << 16 | <uint32_t>there[2] << 8 | there[3]

cdef inline void put_long(char *octets, uint32_t number) noexcept:
    memcpy(octets, &number, 4)

cdef inline void put_attribute(char *octets, unsigned int length, unsigned int kind) noexcept:
    cdef uint16_t numbers[2]
    numbers[0] = <uint16_t>length
    numbers[1] = <uint16_t>kind
    memcpy(octets, numbers, 4)

cdef inline bint lies(const char *there, bytes octets) noexcept:
    return memcmp(there, PyBytes_AS_STRING(octets), PyBytes_GET_SIZE(octets)) == 0

cdef inline bint fits(
    bytearray buffer, Py_ssize_t at, Py_ssize_t octets, bytes start, bytes middle, bytes end, Py_ssize_t payload_at,
    bint marked
) except -1:
    cdef const char *there
    cdef Py_ssize_t size = PyByteArray_GET_SIZE(buffer)
    cdef Py_ssize_t known = 28 + PyBytes_GET_SIZE(middle)
    cdef uint16_t numbers[2]
    if marked:
        known += 4 + PyBytes_GET_SIZE(end)
    if at < 0 or octets < payload_at or octets > size - at or known > payload_at or PyBytes_GET_SIZE(start) > 20:
        return False
    there = PyByteArray_AS_STRING(buffer) + at
    if host_long(there) != octets or not lies(there + 4, start) or not lies(there + 28, middle):
        return False
    if marked and not lies(there + 32 + PyBytes_GET_SIZE(middle), end):
        return False
    memcpy(numbers, there + payload_at - 4, 4)
    return numbers[0] == octets - payload_at + 4 and numbers[1] == 10

cdef inline uint32_t token(bytearray buffer, Py_ssize_t at) except? 0:
    if at < 0 or at + 28 > PyByteArray_GET_SIZE(buffer):
        raise IndexError(at)
    return host_long(PyByteArray_AS_STRING(buffer) + at + 24)

cdef inline uint32_t mark(bytearray buffer, Py_ssize_t at) except? 0:
    if at < 0 or at + 4 > PyByteArray_GET_SIZE(buffer):
        raise IndexError(at)
    return network_long(PyByteArray_AS_STRING(buffer) + at)

cdef inline bytearray piece(bytearray buffer, Py_ssize_t start, Py_ssize_t end):
    if not 0 <= start <= end <= PyByteArray_GET_SIZE(buffer):
        raise IndexError(end)
    return PyByteArray_FromStringAndSize(PyByteArray_AS_STRING(buffer) + start, end - start)

cdef inline bytes verdict(bytes prefix, uint32_t token, bint marked, uint32_t mark, Py_ssize_t octets):
    cdef Py_ssize_t length = 32 + (8 if marked else 0) + (4 if octets >= 0 else 0)
    cdef bytes made = PyBytes_FromStringAndSize(NULL, length)
    cdef char *there = PyBytes_AS_STRING(made)
    if PyBytes_GET_SIZE(prefix) != 28:
        raise ValueError(prefix)
    memcpy(there, PyBytes_AS_STRING(prefix), 28)
    put_long(there, <uint32_t>(length + octets if octets >= 0 else length))
    put_long(there + 28, token)
    there += 32
    if marked:
        put_attribute(there, 8, 3)
        there[4] = <char>(mark >> 24)
        there[5] = <char>(mark >> 16)
        there[6] = <char>(mark >> 8)
        there[7] = <char>mark
        there += 8
    if octets >= 0:
        put_attribute(there, <unsigned int>(4 + octets), 10)
    return made
