// Package parquet reads the rows of Parquet files that nobody vouches for, as if they were
// JSON. The decoding is github.com/parquet-go/parquet-go's; what a file claims about its
// sizes is checked before that library allocates it. Rows enter nowhere else and leave as
// values; what they mean belongs to who reads them.
package parquet
