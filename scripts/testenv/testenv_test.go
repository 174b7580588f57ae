package testenv

import "testing"

func TestSized(t *testing.T) {
	t.Setenv("CULVERT_TEST_SMALL", "")
	if got := Sized(50_000, 100); got != 50_000 {
		t.Errorf("got %d, want all", got)
	}
	t.Setenv("CULVERT_TEST_SMALL", "1")
	if got := Sized(50_000, 100); got != 100 {
		t.Errorf("got %d, want the small one", got)
	}
}
