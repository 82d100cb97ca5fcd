package nsdiff

import (
	"fmt"
	"slices"
	"strconv"
)

// enumName returns the name of a value of a type whose values count from 0.
func enumName(typeName string, names []string, value uint8) string {
	if int(value) < len(names) {
		return names[value]
	}
	return typeName + "(" + strconv.Itoa(int(value)) + ")"
}

func parseEnum(what string, names []string, text []byte, value *uint8) error {
	i := slices.Index(names, string(text))
	if i < 0 {
		return fmt.Errorf("%w: %s %q: want one of %q", ErrSyntax, what, clip(string(text)), names)
	}
	*value = uint8(i)
	return nil
}
