//go:build verify

package lineproto

// verify turns on the checks of what is read without a check otherwise.
const verify = true
