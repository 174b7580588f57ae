//go:build goexperiment.simd && amd64

package dataplane

import "simd/archsimd"

const (
	// vectorStep is what one step of sumVectors takes, in bytes.
	vectorStep = 128
	// vectorMin is the length from which vectors pay: below it collecting their lanes costs more.
	vectorMin = 2 * vectorStep
)

// sumVectors adds whole steps of the bytes to an initial value below 2⁶³ as sum does, and returns what is
// left of them. Each lane adds up 32-bit halves, which a datagram's 64 KiB cannot overflow.
func sumVectors(b []byte, initial uint64) (total uint64, rest []byte) {
	if !archsimd.X86.AVX2() {
		return initial, b
	}
	var low, high archsimd.Uint64x4
	half := archsimd.BroadcastUint64x4(0xffffffff)
	for len(b) >= vectorStep {
		v0 := archsimd.LoadUint8x32((*[32]byte)(b[0:32])).AsUint64x4()
		v1 := archsimd.LoadUint8x32((*[32]byte)(b[32:64])).AsUint64x4()
		v2 := archsimd.LoadUint8x32((*[32]byte)(b[64:96])).AsUint64x4()
		v3 := archsimd.LoadUint8x32((*[32]byte)(b[96:128])).AsUint64x4()
		low = low.Add(v0.And(half).Add(v1.And(half))).Add(v2.And(half).Add(v3.And(half)))
		high = high.Add(v0.ShiftAllRight(32).Add(v1.ShiftAllRight(32))).
			Add(v2.ShiftAllRight(32).Add(v3.ShiftAllRight(32)))
		b = b[vectorStep:]
	}
	var lanes [4]uint64
	low.Add(high).Store(&lanes)
	// What follows uses the older instructions, which wait for the upper halves of the registers otherwise.
	archsimd.ClearAVXUpperBits()
	return initial + lanes[0] + lanes[1] + lanes[2] + lanes[3], b
}
