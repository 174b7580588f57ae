package point

// NameBit is one of 64 bits. Names of different bits differ, so that most points need no look at the names
// they have to know that one is not among them. The name is not empty.
func NameBit(name []byte) uint64 {
	n := len(name)
	return 1 << (NameSum(name[0], name[n-1], uint32(n)) % 64)
}

// NameSum is the number of NameBit, of a name's first and last byte and its length.
func NameSum(first, last byte, n uint32) uint32 {
	const golden = 0x9e3779b1 // 2³² divided by the golden ratio: the top bits depend on all.
	return (uint32(first) | uint32(last)<<8 | n<<16) * golden >> 26
}
