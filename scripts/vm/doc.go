// Package vm holds the scripts by which tests run on kernels other than this machine's, and tests of what can
// go wrong in them.
package vm
