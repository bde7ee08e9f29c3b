"""The autograder: grades untrusted submissions in sandboxes, and the course around it.

In:  a folder of submissions in any layout, a data split; optionally roster, points, policy of the course.
Out: grades/: pages, tables, exports, and a record for each student, from which a later run continues.

    submissions.py, roster.py        who handed in what (vaelab/hand_in.py decides which files are graded)
      -> grading.py                  what must be graded again, and why; progress.py reports and logs
      -> grader.py                   one submission: encode, decode, generate, check; secret.py, verdicts.py
           canaries.py               what is mixed into the images, and flags for suspicious results
           -> steps.py               one step, with copies of its files in memory; interpreter.py
                -> sandbox.py        a sandboxed process, with limits.py and syscall_filter.py
                     -> sandboxed_step.py, check_steps.py   the program inside; request.py, arrays.py cross
      -> record.py, gradebook.py     what is stored: numbers, and all that decided them
      -> results.py                  points.py and policy.py applied: a total for each student
      -> report.py                   tables.py, pages.py, similarity.py, exports.py
    gradescope.py builds an autograder for Gradescope; on_gradescope.py runs inside of it.
    command.py, settings.py          the command line and its options
"""
