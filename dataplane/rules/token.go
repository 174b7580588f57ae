package rules

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"culvert/dataplane/point"
)

// tokenKind tells names, literals and the end apart; every other token is its own text.
type tokenKind uint8

const (
	tokenEnd tokenKind = iota
	tokenName
	tokenNumber
	tokenString
	tokenSymbol
)

// token is one word of an expression. For a string, text is what it says, without quotes and escapes.
type token struct {
	kind       tokenKind
	start, end int
	text       string
	value      constant // of a number
}

// syntaxError is an error at a byte of an expression.
type syntaxError struct {
	offset        int
	message, hint string
}

func wrong(offset int, hint, format string, args ...any) *syntaxError {
	return &syntaxError{offset: offset, message: fmt.Sprintf(format, args...), hint: hint}
}

// symbols are tried in this order, the longer ones first.
var symbols = [...]string{
	"||", "&&", "==", "!=", "<=", ">=", "=~", "!~",
	"<", ">", "+", "-", "*", "/", "%", "!", "(", ")", "[", "]", ",", ".", ":",
}

// lex cuts an expression into tokens.
func lex(source string) ([]token, *syntaxError) {
	var tokens []token
	at := 0
	for {
		at += len(source[at:]) - len(strings.TrimLeft(source[at:], " \t\r\n"))
		if at == len(source) {
			return append(tokens, token{kind: tokenEnd, start: at, end: at, text: "the end"}), nil
		}
		t, err := lexOne(source, at)
		if err != nil {
			return nil, err
		}
		tokens = append(tokens, t)
		at = t.end
	}
}

func lexOne(source string, at int) (token, *syntaxError) {
	rest := source[at:]
	first, _ := utf8.DecodeRuneInString(rest)
	switch {
	case first == '_' || unicode.IsLetter(first):
		end := strings.IndexFunc(rest, func(r rune) bool {
			return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r)
		})
		if end < 0 {
			end = len(rest)
		}
		return token{kind: tokenName, start: at, end: at + end, text: rest[:end]}, nil
	case isDigit(rest[0]) || rest[0] == '.' && len(rest) > 1 && isDigit(rest[1]):
		return lexNumber(source, at)
	case first == '"' || first == '\'' || first == '`':
		return lexString(source, at)
	}
	for _, s := range symbols {
		if strings.HasPrefix(rest, s) {
			return token{kind: tokenSymbol, start: at, end: at + len(s), text: s}, nil
		}
	}
	hint := ""
	switch first {
	case '=':
		hint = `did you mean "=="?`
	case '&':
		hint = `did you mean "&&"?`
	case '|':
		hint = `did you mean "||"?`
	case '“', '”', '„', '‘', '’':
		hint = `write " or '`
	case '≤':
		hint = `did you mean "<="?`
	case '≥':
		hint = `did you mean ">="?`
	case '≠':
		hint = `did you mean "!="?`
	case '^':
		hint = "a power is written pow(x, y)"
	case '$':
		hint = "a field is written x, a tag tags.x"
	}
	return token{}, wrong(at, hint, "unexpected character %q", first)
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// lexNumber reads an integer, a float or a duration; the latter becomes an integer of nanoseconds.
func lexNumber(source string, at int) (token, *syntaxError) {
	end := at
	for end < len(source) && (isDigit(source[end]) || source[end] == '.') {
		end++
	}
	if end < len(source) && (source[end] == 'e' || source[end] == 'E') {
		exponent := end + 1
		if exponent < len(source) && (source[exponent] == '+' || source[exponent] == '-') {
			exponent++
		}
		for end = exponent; end < len(source) && isDigit(source[end]); {
			end++
		}
	}
	number := source[at:end]
	for end < len(source) {
		r, size := utf8.DecodeRuneInString(source[end:])
		if r != '_' && r != '.' && !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			break
		}
		end += size
	}
	text := source[at:end]
	t := token{kind: tokenNumber, start: at, end: end, text: text}
	if len(number) < len(text) {
		d, err := time.ParseDuration(text)
		if err != nil {
			hint := "units are ns, us, ms, s, m and h"
			if suffix := text[len(number):]; suffix == "i" || suffix == "u" {
				hint = "did you mean " + number + "?"
			}
			return token{}, wrong(at, hint, "%q is neither a number nor a duration", text)
		}
		t.value = intConstant(int64(d))
		return t, nil
	}
	if !strings.ContainsAny(text, ".eE") {
		return lexInteger(t)
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsInf(f, 0) {
		return token{}, wrong(at, "", "%q is not a number that a float can hold", text)
	}
	t.value = constant{kind: point.Float, number: math.Float64bits(f)}
	return t, nil
}

func lexInteger(t token) (token, *syntaxError) {
	u, err := strconv.ParseUint(t.text, 10, 64)
	if err != nil {
		return token{}, wrong(t.start, "", "%s does not fit an integer of 64 bits", t.text)
	}
	t.value = constant{kind: point.Int, number: u}
	if u > math.MaxInt64 {
		t.value.kind = point.Uint
	}
	return t, nil
}

// lexString reads a string: between " or ' with escapes, between back quotes as it stands.
func lexString(source string, at int) (token, *syntaxError) {
	quote := source[at]
	var text strings.Builder
	for i := at + 1; i < len(source); i++ {
		c := source[i]
		if c == quote {
			return token{kind: tokenString, start: at, end: i + 1, text: text.String()}, nil
		}
		if c != '\\' || quote == '`' {
			text.WriteByte(c)
			continue
		}
		i++
		if i == len(source) {
			break
		}
		switch source[i] {
		case '\\', '"', '\'':
			text.WriteByte(source[i])
		case 'n':
			text.WriteByte('\n')
		case 't':
			text.WriteByte('\t')
		case 'r':
			text.WriteByte('\r')
		default:
			r, _ := utf8.DecodeRuneInString(source[i:])
			return token{}, wrong(i-1, "write two backslashes, or put the string in back quotes",
				`unknown escape \%c`, r)
		}
	}
	return token{}, wrong(at, "", "string is not closed")
}
