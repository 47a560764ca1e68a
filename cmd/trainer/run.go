package main

// jobs is what a worker can do.
var jobs = work{}
