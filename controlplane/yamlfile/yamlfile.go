// Package yamlfile reads YAML files within bounds, for the packages that know what stands in them:
//
//	file ──Read──▶ text ──Tokens──▶ tokens ──the library's parser.Parse──▶ tree
//
// The library calls itself for what is nested and for the keys of a mapping, moves all tokens for a value
// that is not there, and works out the path of each value, so that a file of a few hundred kilobytes could
// keep it busy for minutes or end the process by its stack. What goes beyond the bounds here is refused
// before, with its place. Files that people write stay far within them.
package yamlfile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/token"
)

// SizeMax bounds a file, in bytes: a thousand rules take some 200 KiB.
const SizeMax = 8 << 20

// Of one line, and of lines in a row. Each of them costs the library's scanner a look over the rest of the
// line or of the block.
const (
	tabsMax  = 256
	mergeMax = 256 // of < in a row
	blankMax = 100 // lines
)

// Excess is what a text has too much of, and where: line and column count from 1, columns in characters.
type Excess struct {
	Line, Column    int
	Message, Remedy string
}

// Read reads a file of at most SizeMax bytes. Its errors do not name the file.
func Read(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	defer file.Close()
	// The size is that of what was read: a pipe says none, and a device has no end.
	content, err := io.ReadAll(io.LimitReader(file, SizeMax+1))
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	if len(content) > SizeMax {
		return nil, fmt.Errorf("the file is longer than %d bytes: split it", SizeMax)
	}
	return content, nil
}

// Tokens are the tokens of a text, for the library's parser.Parse, or what the text has too much of. Where
// the library's scanner finds a mistake, they are what it makes of it: the parser reports it.
func Tokens(text string) (token.Tokens, *Excess) {
	if e := lines(text); e != nil {
		return nil, e
	}
	tokens := lexer.Tokenize(text)
	if tokens.InvalidToken() != nil {
		return tokens, nil
	}
	o := outline{}
	for _, t := range tokens {
		if t.Type == token.CommentType {
			continue
		}
		if e := o.take(t); e != nil {
			return nil, e
		}
	}
	return tokens, nil
}

// lines looks at a text line by line.
func lines(text string) *Excess {
	blank, line := 0, 1
	for rest := text; rest != ""; line++ {
		content := rest
		if end := strings.IndexAny(rest, "\r\n"); end >= 0 {
			if content, rest = rest[:end], rest[end:]; strings.HasPrefix(rest, "\r\n") {
				rest = rest[1:]
			}
			rest = rest[1:]
		} else {
			rest = ""
		}
		if blank++; strings.Trim(content, " \t") != "" {
			blank = 0
		}
		if blank > blankMax {
			// The place is that of a line that can be shown.
			return &Excess{max(line-blank, 1), 1,
				fmt.Sprintf("more than %d empty lines behind this one", blankMax), "remove them"}
		}
		if strings.Count(content, "\t") > tabsMax {
			at := 0
			for range tabsMax {
				at += strings.IndexByte(content[at:], '\t') + 1
			}
			return &Excess{line, utf8.RuneCountInString(content[:at]) + 1,
				fmt.Sprintf("more than %d tabs in a line", tabsMax), "use spaces"}
		}
		if at := strings.Index(content, strings.Repeat("<", mergeMax+1)); at >= 0 {
			return &Excess{line, utf8.RuneCountInString(content[:at]) + 1,
				fmt.Sprintf("more than %d < in a row", mergeMax), "remove them"}
		}
	}
	return nil
}
