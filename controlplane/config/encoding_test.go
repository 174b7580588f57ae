package config

import "testing"

// Goal: what editors on other systems write is read, and what YAML can't be is named. Method: a byte order
// mark; Latin-1; UTF-16.
func TestEncodings(t *testing.T) {
	mustParse(t, "\ufeff"+smallest)
	f := func(text string, line, column int) {
		t.Helper()
		_, wrong := Parse("f", []byte(text))
		if len(wrong) != 1 || wrong[0].Position != (Position{"f", line, column}) ||
			wrong[0].Message != "a byte that is not UTF-8: save the file in that encoding" {
			t.Errorf("%q: %v", text, wrong)
		}
	}
	f(smallest+"gateway: {id: \"\xe4\"}\n", 3, 16)
	f(smallest+"gateway: {id: \"\ufffdä\xe4\"}\n", 3, 18)
	f("\xff\xfei\x00n\x00", 1, 1)
}
