//go:build cgo

package confine

const withC = true
