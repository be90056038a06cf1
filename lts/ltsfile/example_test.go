package ltsfile_test

import (
	"fmt"
	"os"
	"strings"

	"github.com/spexio/spex/lts/ltsfile"
)

func Example() {
	const order = `des (0, 3, 3)
(0, "pay", 1)
(1, i, 1)
(1, "cancel", 2)
`
	s, err := ltsfile.Read("order.aut", strings.NewReader(order), ltsfile.AUT, ltsfile.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := ltsfile.Write(os.Stdout, s, ltsfile.Mermaid, ltsfile.WriteOptions{Tau: "hidden"}); err != nil {
		fmt.Println(err)
	}
	// Output:
	// stateDiagram-v2
	//     0
	//     1
	//     2
	//     [*] --> 0
	//     0 --> 1 : pay
	//     1 --> 1 : hidden
	//     1 --> 2 : cancel
}

func ExampleRead_error() {
	_, err := ltsfile.Read("order.aut", strings.NewReader("des (0, 2, 2)\n(0, \"pay\", 1)\n(1, \"cancel\", 2)\n"), ltsfile.AUT, ltsfile.Options{})
	fmt.Println(err)
	// Output:
	// order.aut:3: state 2 does not exist: the states are 0 to 1: "(1, \"cancel\", 2)" (correct the state, or the third number of the header)
}
