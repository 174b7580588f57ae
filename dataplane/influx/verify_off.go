//go:build !verify

package influx

// verify switches on the checks that cost time.
const verify = false
