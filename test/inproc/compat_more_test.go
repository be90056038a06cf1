package inproc

var instanceCases, timeCases []compatCase
