//go:build !(goexperiment.simd && amd64)

package lineproto

// best is the fastest path of this machine. Built for another architecture, or without Go's package
// simd/archsimd, there is one.
func best() path { return pathWords }

// scan makes the index by the path that is asked for.
func (x *index) scan(b []byte) (n int, anyRare uint64) {
	return scanWords(b, x.marks, x.others, x.rare)
}
