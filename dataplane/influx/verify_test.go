//go:build verify

package influx

import "testing"

func TestVerifyFindsAWriteToAFreeBatch(t *testing.T) {
	memory := make([]byte, 64)
	p, _ := NewPool(memory, 64)
	memory[5] = 'x'
	mustPanic(t, "take a batch that was written to", func() { p.Take() })
}
