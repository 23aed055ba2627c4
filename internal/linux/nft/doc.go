// Package nft is the door to nf_tables. A Table is a value: chains with rules
// made of the small matches and verdicts of expr.go, and maps whose elements
// carry what changes. Conn.Replace puts a whole table into the kernel in one
// transaction, Conn.Update changes elements only.
//
// What the rules are for does not belong here, nor does any other program's
// table: nothing here writes outside the table that it is told to.
package nft
