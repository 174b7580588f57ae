package lab

import (
	"path/filepath"
	"testing"
)

func TestCountPoints(t *testing.T) {
	f := func(body string, want uint64) {
		t.Helper()
		got, err := countPoints([]byte(body))
		if err != nil || got != want {
			t.Errorf("countPoints(%s): got %d, %v, want %d", body, got, err, want)
		}
	}
	f(`{"results":[{"statement_id":0}]}`, 0)
	f(`{"results":[{"series":[{"columns":["time","count_a","count_b"],"values":[["1970",3,9]]}]}]}`, 9)
	f(`{"results":[{"series":[{"name":"m","columns":["time","count_a"],"values":[[0,3]]},`+
		`{"name":"n","columns":["time","count_a"],"values":[[0,4]]}]}]}`, 7)
	if _, err := countPoints([]byte(`{"results":[{"error":"database not found"}]}`)); err == nil {
		t.Error("an error of the database was taken for a count")
	}
}

// Goal: one user at a time, and what a dead one left is found. Method: a claim twice, then one that is
// dropped without being given back, as a process that dies does.
func TestClaim(t *testing.T) {
	path := filepath.Join(t.TempDir(), "claim")
	first, left, err := OpenClaim(path)
	if err != nil || left != "" {
		t.Fatalf("the first claim: left %q, %v", left, err)
	}
	if err := first.Note("/tmp/a-rather-long-folder"); err != nil {
		t.Fatal(err)
	}
	if err := first.Note("/tmp/folder"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := OpenClaim(path); err == nil {
		t.Fatal("a second user got the claim")
	}
	first.file.Close()
	second, left, err := OpenClaim(path)
	if err != nil || left != "/tmp/folder" {
		t.Fatalf("after a death: left %q, %v", left, err)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	third, left, err := OpenClaim(path)
	if err != nil || left != "" {
		t.Fatalf("after a good end: left %q, %v", left, err)
	}
	third.Close()
}
