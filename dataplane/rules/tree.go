package rules

import "culvert/dataplane/point"

// nodeKind is what a node of an expression's tree is.
type nodeKind uint8

const (
	nodeConstant nodeKind = iota
	nodeName              // a field, a tag, the measurement or the time
	nodeNot
	nodeAnd
	nodeOr
	nodeCompare
	nodeCompute // an operator or function that gives a number
	nodeText    // starts_with, ends_with, contains
	nodeIn
	nodeMatch
	nodeHas
	nodeWindow // x[10s:5s], which only stands in a function
	nodePast   // a function of the key's past
)

// nameKind is what a name in an expression names.
type nameKind uint8

const (
	nameField nameKind = iota
	nameTag
	nameMeasurement
	nameTime
)

// name is something of a point.
type name struct {
	kind nameKind
	text string // of a field or a tag
}

// textTest is one of the tests of strings.
type textTest uint8

const (
	textStartsWith textTest = iota
	textEndsWith
	textContains
)

// node is one node of an expression's tree. start and end are the bytes of the source it was read from.
type node struct {
	kind       nodeKind
	start, end int
	operator   int // the byte at which the operator of a binary node stands

	isSpan bool      // nodeConstant: a duration
	value  constant  // nodeConstant; the pattern of nodeMatch
	name   name      // nodeName, nodeHas
	mask   relation  // nodeCompare: the relations that make it true
	op     operation // nodeCompute
	test   textTest  // nodeText
	negate bool      // nodeMatch: !~
	past   pastFunction
	length int64      // nodeWindow, nodePast: of the window, or the function's duration; nanoseconds
	slide  int64      // nodeWindow, nodePast with a window; 0: none was given
	list   []constant // nodeIn, with their places in listAt
	listAt []int
	args   []*node
}

// valueType is what the checker knows of a node before any point is seen.
type valueType uint8

const (
	typeAny valueType = iota // a field: known at run time only
	typeNumber
	typeString
	typeBool
)

var typeNames = [...]string{"a field", "a number", "a string", "a bool"}

func (t valueType) String() string { return typeNames[t] }

func kindType(k point.Kind) valueType {
	switch k {
	case point.Bool:
		return typeBool
	case point.String:
		return typeString
	}
	return typeNumber
}

func (n *node) valueType() valueType {
	switch n.kind {
	case nodeConstant:
		return kindType(n.value.kind)
	case nodeName:
		switch n.name.kind {
		case nameField:
			return typeAny
		case nameTime:
			return typeNumber
		}
		return typeString
	case nodeCompute, nodeWindow:
		return typeNumber
	case nodePast:
		switch n.past {
		case pastPrev:
			return n.args[0].valueType()
		case pastChanged, pastFollowed:
			return typeBool
		}
		return typeNumber
	}
	return typeBool
}
