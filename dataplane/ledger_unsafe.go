package dataplane

import "unsafe"

// counterWords is the number of words in Counters, which holds nothing but uint64.
const counterWords = unsafe.Sizeof(Counters{}) / 8

// words views the counters as an array, so that all of them are published, read and added by one loop.
func (c *Counters) words() *[counterWords]uint64 {
	return (*[counterWords]uint64)(unsafe.Pointer(c))
}

// tenantWords is the number of words in TenantCounters, which holds nothing but uint64.
const tenantWords = unsafe.Sizeof(TenantCounters{}) / 8

func (c *TenantCounters) words() *[tenantWords]uint64 {
	return (*[tenantWords]uint64)(unsafe.Pointer(c))
}

// laneWords is the number of words in LaneCounters, which holds nothing but uint64.
const laneWords = unsafe.Sizeof(LaneCounters{}) / 8

func (c *LaneCounters) words() *[laneWords]uint64 {
	return (*[laneWords]uint64)(unsafe.Pointer(c))
}
