package tidy

import "testing"

// The rules hold in this tree.
func TestTree(t *testing.T) {
	tree, err := ReadTree("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range Long(tree) {
		t.Logf("%s: is it still one concept?", line)
	}
	for _, finding := range Check(tree) {
		t.Error(finding)
	}
}
