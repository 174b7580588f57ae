//go:build !verify

package lineproto

const verify = false
