// Package peers measures the rules against general expression engines on the same conditions and points.
// It is a module of its own, so that the product does not depend on them.
package peers
