// Package tidy holds the house rules that a machine can check, as plain functions over the source tree. They
// run as a test of this package, `make tidy`, so that they hold without anyone remembering them.
//
//	imports.go       which folder may import which, and which libraries
//	text.go          length of lines and files, headers of generated files and of BPF sources
//	source.go        length of functions, init, package variables, unsafe, words that errors begin with
//	names.go         words that say nothing
//	comments.go      a comment on every package and every exported name
//	dependencies.go  docs/dependencies.md against what is imported
//	documents.go     links and make targets that the documents name
//
// A finding names the place and what to write instead. The rules look at text and syntax only, so that the
// tree need not compile for them.
package tidy
