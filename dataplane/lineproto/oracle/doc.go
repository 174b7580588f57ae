// Package oracle compares Culvert's Line Protocol with InfluxData's own library, over that library's
// corpus of test cases and over fuzzed text. It is a module of its own and holds tests alone, so that the
// library is no dependency of Culvert.
//
// The two differ on purpose in a few places. Each is a named predicate in differences_test.go, and stands in
// docs/line-protocol.md under the same name.
package oracle
