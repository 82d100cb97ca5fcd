// Command rtinspect tells what isolation the containers on a Linux node really have: what was requested of the runtime, what
// the runtime declared, and what the kernel has in force. It only reads.
package main

import "os"

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }
