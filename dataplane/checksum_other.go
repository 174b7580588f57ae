//go:build !(goexperiment.simd && amd64)

package dataplane

import "math"

// vectorMin is the length from which vectors pay: built for another architecture, or without Go's package
// simd/archsimd, there are none.
const vectorMin = math.MaxInt

func sumVectors(b []byte, initial uint64) (total uint64, rest []byte) { return initial, b }
