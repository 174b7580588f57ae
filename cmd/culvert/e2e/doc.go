// Package e2e tests the gateway as its users meet it: the built binary in a network namespace, senders in
// another, real packets between them, and a real sink behind it. It holds tests only.
//
// CULVERT_BINARY names a binary to test where none can be built, such as inside a VM.
package e2e
