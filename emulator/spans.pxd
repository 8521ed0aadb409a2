from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_CheckExact, PyByteArray_GET_SIZE
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memcmp, memmove

cdef inline const unsigned char *place(object buffer, Py_ssize_t *size) noexcept:
    if PyByteArray_CheckExact(buffer):
        size[0] = PyByteArray_GET_SIZE(buffer)
        return <const unsigned char *>PyByteArray_AS_STRING(buffer)
    if PyBytes_CheckExact(buffer):
        size[0] = PyBytes_GET_SIZE(buffer)
        return <const unsigned char *>PyBytes_AS_STRING(buffer)
    return NULL

cdef inline bytes span(object buffer, Py_ssize_t start, Py_ssize_t end):
    cdef Py_ssize_t size = 0
    cdef const unsigned char *octets = place(buffer, &size)
    if octets == NULL or start < 0 or end < 0:
        return bytes(buffer[start:end])
    if end > size:
        end = size
    if start > end:
        start = end
    return PyBytes_FromStringAndSize(<const char *>octets + start, end - start)

cdef inline int word(object buffer, Py_ssize_t at) except -1:
    cdef Py_ssize_t size = 0
    cdef const unsigned char *octets = place(buffer, &size)
    if octets == NULL or at < 0:
        return <int>buffer[at] << 8 | <int>buffer[at + 1]
    if at + 2 > size:
        raise IndexError(at)
    return octets[at] << 8 | octets[at + 1]

cdef inline bint alike(object buffer, Py_ssize_t at, bytes octets) except -1:
    cdef Py_ssize_t size = 0
    cdef const unsigned char *there = place(buffer, &size)
    cdef Py_ssize_t length = PyBytes_GET_SIZE(octets)
    if there == NULL or at < 0:
        return buffer.startswith(octets, at)
    return length <= size - at and memcmp(there + at, PyBytes_AS_STRING(octets), length) == 0

cdef inline bint begins(object buffer, bytes octets, Py_ssize_t size) except -1:
    cdef Py_ssize_t length = 0
    cdef const unsigned char *there = place(buffer, &length)
    if there == NULL or size < 0 or size > PyBytes_GET_SIZE(octets):
        return buffer.startswith(octets[:size])
    return size <= length and memcmp(there, PyBytes_AS_STRING(octets), size) == 0

cdef inline int overwrite(object buffer, Py_ssize_t at, object octets) except -1:
    cdef Py_ssize_t size = 0, length = 0
    cdef const unsigned char *source
    if PyByteArray_CheckExact(buffer) and at >= 0:
        source = place(octets, &length)
        size = PyByteArray_GET_SIZE(buffer)
        if source != NULL and length <= size - at:
            memmove(PyByteArray_AS_STRING(buffer) + at, source, length)
            return 0
    buffer[at : at + len(octets)] = octets
    return 0
