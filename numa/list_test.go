package numa

import (
	"slices"
	"testing"
)

func TestParseListSuccess(t *testing.T) {
	f := func(text string, want ...int) {
		t.Helper()
		got, err := ParseList(text)
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("ParseList(%q) = %v, %v; want %v", text, got, err, want)
		}
		again, err := ParseList(FormatList(got))
		if err != nil || !slices.Equal(again, want) {
			t.Fatalf("%v written as %q is read as %v, %v", got, FormatList(got), again, err)
		}
	}
	f("")
	f("\n")
	f("0\n", 0)
	f("2-5,8", 2, 3, 4, 5, 8)
	f("8,2-3", 2, 3, 8)
	f("1,1-2,2", 1, 2)
	f(" 0 - 1 , 4 ", 0, 1, 4)
	f("7-7", 7)
	f("65535", 65535)
}

func TestParseListFailure(t *testing.T) {
	f := func(text string) {
		t.Helper()
		for range 2 {
			if got, err := ParseList(text); err == nil {
				t.Fatalf("ParseList(%q) = %v", text, got)
			}
		}
	}
	f("a")
	f("1,")
	f("-1")
	f("1-")
	f("3-1")
	f("1-2-3")
	f("1:2")
	f("65536")
	f("0-99999999999999999999")
	f("0-60000,0-60000")
}

func TestFormatList(t *testing.T) {
	f := func(want string, list ...int) {
		t.Helper()
		if got := FormatList(list); got != want {
			t.Fatalf("FormatList(%v) = %q, want %q", list, got, want)
		}
	}
	f("")
	f("3", 3)
	f("0-1", 1, 0)
	f("2-5,8", 8, 5, 4, 3, 2, 2)
}
