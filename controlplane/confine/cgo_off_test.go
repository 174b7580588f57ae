//go:build !cgo

package confine

const withC = false
