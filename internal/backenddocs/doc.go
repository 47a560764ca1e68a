// Command backenddocs writes the pages of docs/backend that are made from the code: one for
// each op, their index, the weight formats and the tolerances. It reads what the judge
// uses: the header, the table of families, the cases and the tolerances.
//
//	go run ./internal/backenddocs
package main
