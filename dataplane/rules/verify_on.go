//go:build verify

package rules

// verify turns on the checks of what lies where, which builds for use leave out.
const verify = true
