//go:build !verify

package xsk

// verify turns the checks of who holds a frame off; the compiler leaves them out.
const verify = false
