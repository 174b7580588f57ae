package oracle

import (
	"regexp"
	"strings"

	"culvert/dataplane/lineproto"
)

// difference is one deliberate way in which Culvert and the library read the same text differently. The names
// are those of docs/line-protocol.md.
type difference struct {
	name string
	// accepts tells that Culvert may take text, of one line and what stands before it, that the library
	// refuses.
	accepts func(text string) bool
	// rejects tells that Culvert may reject a line, for this reason and with this text, that the library
	// takes.
	rejects func(reason lineproto.Reason, line string) bool
}

var (
	whiteBeforeLine = regexp.MustCompile(`(?m)^ *[\t\x00]`)
	controlComment  = regexp.MustCompile(`(?m)^[ \t\x00]*#[^\n]*[\x00-\x1f\x7f]`)
	noNumber        = regexp.MustCompile(`=[+-]?(?i:nan|inf|infinity)([, \r\n]|$)`)
	// A backslash may be part of a longer run, so that only its end is looked at.
	pairBeforeEscape = regexp.MustCompile(`\\\\[,= ]`)
	hexNumber        = regexp.MustCompile(`=-?0[xX]`)
	underscores      = regexp.MustCompile(`=-?[0-9.][0-9.eE+-]*_[0-9]`)
)

var differences = []difference{
	{
		name:    "white space before a line",
		accepts: whiteBeforeLine.MatchString,
	},
	{
		name:    "control characters in comments",
		accepts: controlComment.MatchString,
	},
	{
		name:    "NaN and infinities",
		accepts: noNumber.MatchString,
	},
	{
		name: "hexadecimal floats",
		rejects: func(reason lineproto.Reason, line string) bool {
			return reason == lineproto.BadNumber && hexNumber.MatchString(line)
		},
	},
	{
		name: "underscores in floats",
		rejects: func(reason lineproto.Reason, line string) bool {
			return reason == lineproto.BadNumber && underscores.MatchString(line)
		},
	},
	{
		name: "backslashes before an escape",
		rejects: func(reason lineproto.Reason, line string) bool {
			return reason == lineproto.TrailingBackslash && pairBeforeEscape.MatchString(line)
		},
	},
	{
		name: "duplicate tags",
		rejects: func(reason lineproto.Reason, line string) bool {
			return reason == lineproto.DuplicateTag
		},
	},
	{
		name: "range of timestamps",
		rejects: func(reason lineproto.Reason, line string) bool {
			return reason == lineproto.TimestampRange
		},
	},
	{
		name: "limits of one line",
		rejects: func(reason lineproto.Reason, line string) bool {
			return reason == lineproto.KeyTooLong || reason == lineproto.StringTooLong ||
				reason == lineproto.TooManyTags || reason == lineproto.TooManyFields
		},
	},
}

// stringEscapes is the difference in the content of strings: the library reads \n, \r and \t in them as line
// end, return and tab, servers and Culvert as two characters. Both texts are compared in the form that this
// gives them.
func stringEscapes(text string) string {
	return strings.NewReplacer(`\n`, "\n", `\r`, "\r", `\t`, "\t").Replace(text)
}
