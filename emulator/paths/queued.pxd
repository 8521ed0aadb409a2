cdef class Arrival:
    cdef public long long queue
    cdef public long long hook
    cdef public long long protocol
    cdef public long long in_device
    cdef public long long out_device
    cdef public object hardware_address
    cdef public bint checksum_pending
    cdef public bint checksum_unverified
    cdef public bint gso

cdef class QueuedPacket:
    cdef public object token
    cdef public object payload
    cdef public Arrival arrival
    cdef public unsigned int mark

cdef class RareQueuedPacket(QueuedPacket):
    cdef public object original_octets
    cdef public object stamp
