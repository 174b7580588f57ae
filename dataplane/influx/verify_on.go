//go:build verify

package influx

// verify switches on the checks that cost time: a free batch is filled with a pattern, which must still be
// there when it is taken again.
const verify = true
