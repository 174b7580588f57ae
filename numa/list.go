package numa

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// listMax bounds the numbers of a list: far more than the kernel's largest NR_CPUS (8192), and small enough
// that a typing error ("1-100000000") takes no memory.
const listMax = 1 << 16

// ParseList reads the kernel's list format, "0-3,8", as it stands in sysfs and in `workers.cpus`: ascending
// order and no number twice, whatever the order of the text. White space around it is ignored; an empty text
// is an empty list.
func ParseList(text string) ([]int, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return nil, nil
	}
	var list []int
	for part := range strings.SplitSeq(text, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		low, err := parseMember(first)
		if err != nil {
			return nil, fmt.Errorf("parse list %q: %w", text, err)
		}
		high, err := parseMember(last)
		if err != nil {
			return nil, fmt.Errorf("parse list %q: %w", text, err)
		}
		if high < low {
			return nil, fmt.Errorf("parse list %q: range %q ends before it begins", text, part)
		}
		for n := low; n <= high; n++ {
			list = append(list, n)
		}
		if len(list) > listMax {
			return nil, fmt.Errorf("parse list %q: more than %d members", text, listMax)
		}
	}
	slices.Sort(list)
	return slices.Compact(list), nil
}

func parseMember(text string) (int, error) {
	n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%q is not a number", text)
	}
	if n >= listMax {
		return 0, fmt.Errorf("%d is not below %d", n, listMax)
	}
	return int(n), nil
}

// FormatList writes the kernel's list format. The list need not be sorted.
func FormatList(list []int) string {
	sorted := slices.Clone(list)
	slices.Sort(sorted)
	sorted = slices.Compact(sorted)
	var text strings.Builder
	for from := 0; from < len(sorted); {
		to := from
		for to+1 < len(sorted) && sorted[to+1] == sorted[to]+1 {
			to++
		}
		if text.Len() > 0 {
			text.WriteByte(',')
		}
		text.WriteString(strconv.Itoa(sorted[from]))
		if to > from {
			text.WriteByte('-')
			text.WriteString(strconv.Itoa(sorted[to]))
		}
		from = to + 1
	}
	return text.String()
}
