"""The documents as a site, in both languages, built by Zensical.

In:  README, docs/*.md (page.zh.md is the Chinese version of page.md), the pictures that they show.
Out: site/: the English pages, and the Chinese ones in site/zh/. A page without a Chinese version is shown in
English there. It needs no network: KaTeX (formulas) and the search are part of it.
Files: `pages.py` lists the pages of each audience, `build.py` copies them and runs Zensical; `assets/` and
`theme/` have what the pages load. `bash scripts/docs.sh` installs what this needs and shows the site.
"""
