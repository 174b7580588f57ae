//go:build goexperiment.simd && amd64

package lineproto

import "simd/archsimd"

// best is the fastest path of this machine.
func best() path {
	switch {
	case archsimd.X86.AVX512() && archsimd.X86.AVX512VBMI2():
		return pathAVX512
	case archsimd.X86.AVX2():
		return pathAVX2
	}
	return pathWords
}

// scan makes the index by the path that is asked for.
func (x *index) scan(b []byte) (n int, anyRare uint64) {
	if x.path == pathBest {
		x.path = best()
	}
	switch x.path {
	case pathAVX512:
		return scanAVX512(b, x.marks, x.others, x.rare)
	case pathAVX2:
		return scanAVX2(b, x.marks, x.others, x.rare)
	}
	return scanWords(b, x.marks, x.others, x.rare)
}
