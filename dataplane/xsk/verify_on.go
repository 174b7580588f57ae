//go:build verify

package xsk

// verify turns the checks of who holds a frame on: a byte per frame, looked at in every transition.
const verify = true
