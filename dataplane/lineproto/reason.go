package lineproto

// Reason is why a line was rejected. Values are indices of counters and, by String, label values.
type Reason uint8

// The reasons for rejecting a line. Each has an example in docs/line-protocol.md.
const (
	MissingMeasurement Reason = iota // the line begins with a comma
	MissingTagKey                    // a comma without a tag behind it, or "=value"
	MissingTagValue                  // a tag without "=" or with nothing behind it
	BadTag                           // an unescaped "=" in a tag's value
	DuplicateTag                     // two tags of one name
	TooManyTags                      // more than TagsMax
	MissingFields                    // the line ends before its first field
	MissingFieldKey                  // a comma without a field behind it, or "=value"
	MissingFieldValue                // a field without "=" or with nothing behind it
	BadValue                         // a value that is of no kind
	BadNumber                        // it begins like a number and is none
	BadBool                          // it begins like a boolean and is none
	IntegerRange                     // beyond 64 bits
	FloatRange                       // beyond the largest float64
	UnterminatedString               // no closing quote up to the payload's end
	StringTooLong                    // longer than StringLengthMax
	TooManyFields                    // more than FieldsMax
	NoFieldsLeft                     // all its fields are NaN or infinite
	BadTimestamp                     // not a decimal integer
	TimestampRange                   // beyond what servers store
	UnexpectedText                   // behind a string's closing quote, or behind the timestamp
	ControlCharacter                 // in a name or a tag's value
	TrailingBackslash                // a name or a tag's value ends in one, at least for some readers
	InvalidUTF8                      // anywhere in the line
	KeyTooLong                       // longer than KeyLengthMax
	Reasons                          // how many there are
)

var reasonNames = [Reasons]string{
	"missing_measurement", "missing_tag_key", "missing_tag_value", "bad_tag", "duplicate_tag",
	"too_many_tags", "missing_fields", "missing_field_key", "missing_field_value", "bad_value",
	"bad_number", "bad_bool", "integer_range", "float_range", "unterminated_string", "string_too_long",
	"too_many_fields", "no_fields_left", "bad_timestamp", "timestamp_range", "unexpected_text",
	"control_character", "trailing_backslash", "invalid_utf8", "key_too_long",
}

func (r Reason) String() string {
	if r < Reasons {
		return reasonNames[r]
	}
	return "unknown"
}

// Outcome is what Decoder.Next found.
type Outcome uint8

// The outcomes.
const (
	End      Outcome = iota // no line is left in the payload
	OK                      // the point holds a line
	Rejected                // a line was bad; Decoder.Reason and its companions say more
)

func (o Outcome) String() string {
	switch o {
	case End:
		return "end"
	case OK:
		return "ok"
	case Rejected:
		return "rejected"
	}
	return "unknown"
}

// Limits of one line. The last two are those of InfluxDB 1.x and 2.x.
const (
	// TagsMax is how many tags a point may have.
	TagsMax = 1024
	// FieldsMax is how many fields a point may have: more than one UDP datagram can hold.
	FieldsMax = 16384
	// KeyLengthMax is the longest series and field that servers index: measurement, tags and the name of
	// a field as they stand in the line, with keyFieldGap bytes between, in bytes.
	KeyLengthMax = 65535
	// StringLengthMax is the longest text of a string field, in bytes as it stands between the quotes.
	StringLengthMax = 1 << 20

	// keyFieldGap is the separator that InfluxDB 1.x puts between series and field in its index.
	keyFieldGap = 4
)

// Precision is the unit of the timestamps in a payload.
type Precision uint8

// The precisions. The zero Precision is Line Protocol's own default.
const (
	Nanosecond Precision = iota
	Microsecond
	Millisecond
	Second
)

var precisionNames = [...]string{"ns", "us", "ms", "s"}

// ParsePrecision reads "ns", "us", "ms" or "s", and tells whether it is one of them.
func ParsePrecision(name string) (Precision, bool) {
	for i, known := range precisionNames {
		if name == known {
			return Precision(i), true
		}
	}
	return Nanosecond, false
}

func (p Precision) String() string {
	if int(p) < len(precisionNames) {
		return precisionNames[p]
	}
	return "unknown"
}

// multiplier is the precision's unit in nanoseconds.
func (p Precision) multiplier() int64 {
	switch p {
	case Microsecond:
		return 1e3
	case Millisecond:
		return 1e6
	case Second:
		return 1e9
	}
	return 1
}
