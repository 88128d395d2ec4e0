//! Rewrites a source file so that it holds all of its mutants: `a + b` becomes
//! `match crate::mutant::at(7) { 7 => a - b, 8 => a * b, _ => a + b }`, where `at` tells which of them lives.

use crate::list::{Genre, Mutant, Place};
use proc_macro2::{Literal, Span, TokenStream};
use quote::{ToTokens, quote};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::visit_mut::{self, VisitMut};
use syn::{
    Arm, BinOp, Block, Expr, ExprMatch, ExprStruct, ImplItemConst, ImplItemFn, Item, ItemFn, Lit, Pat, Signature,
};

/// A file with all mutants in it.
pub struct Rewritten {
    pub text: String,
    /// Each mutant with its site: the first one of its place, by whose number the place is known.
    pub sites: BTreeMap<usize, usize>,
    /// No Rust, whatever the types are.
    pub unviable: BTreeSet<usize>,
}

/// What is in neither set of the answer cannot share a binary with others: it stands in a constant, or is the body of a
/// function whose hidden type it would change.
pub fn rewrite(source: &str, mutants: &[&Mutant]) -> Rewritten {
    let mut rewriter = Rewriter::default();
    for mutant in mutants {
        rewriter.waiting.entry((mutant.place, mutant.genre)).or_default().push((*mutant).clone());
    }
    let mut file = syn::parse_file(source).expect("the bridge is Rust");
    rewriter.visit_file_mut(&mut file);
    let text = file.to_token_stream().to_string();
    Rewritten { text, sites: rewriter.sites, unviable: rewriter.unviable }
}

#[derive(Default)]
struct Rewriter {
    waiting: BTreeMap<(Place, Genre), Vec<Mutant>>,
    sites: BTreeMap<usize, usize>,
    unviable: BTreeSet<usize>,
    /// Inside of what is worked out while it is compiled.
    is_const: bool,
}

fn number(mutant: &Mutant) -> Literal {
    Literal::usize_unsuffixed(mutant.number)
}

fn parsed(mutant: &Mutant) -> TokenStream {
    mutant.replacement.parse().expect("a replacement is Rust")
}

/// Whether an operand is `let … = …`, which stands in conditions only, and beside `&&` only.
fn has_let(expr: &Expr) -> bool {
    match expr {
        Expr::Let(_) => true,
        Expr::Binary(binary) => has_let(&binary.left) || has_let(&binary.right),
        _ => false,
    }
}

impl Rewriter {
    fn take(&mut self, span: Span, genre: Genre) -> Vec<Mutant> {
        let start = span.start();
        let mutants = self.waiting.remove(&((start.line, start.column + 1), genre)).unwrap_or_default();
        if let Some(first) = mutants.first() {
            self.sites.extend(mutants.iter().map(|mutant| (mutant.number, first.number)));
        }
        mutants
    }

    /// The choice between what each mutant says and what was written.
    fn choice(mutants: &[(Mutant, TokenStream)], written: &TokenStream) -> TokenStream {
        let site = number(&mutants[0].0);
        let numbers = mutants.iter().map(|(mutant, _)| number(mutant));
        let changed = mutants.iter().map(|(_, changed)| changed);
        quote! { (match crate::mutant::at(#site) { #(#numbers => { #changed })* _ => { #written } }) }
    }

    fn rewrite_body(&mut self, signature: &Signature, block: &mut Block) {
        let outer = std::mem::replace(&mut self.is_const, signature.constness.is_some());
        let is_hidden = signature.output.to_token_stream().to_string().contains("impl ");
        let mutants = match block.stmts.first() {
            Some(first) if !self.is_const && !is_hidden => self.take(first.span(), Genre::FnValue),
            _ => Vec::new(),
        };
        visit_mut::visit_block_mut(self, block);
        self.is_const = outer;
        if let Some(first) = mutants.first() {
            let (site, numbers) = (number(first), mutants.iter().map(number));
            let values = mutants.iter().map(parsed);
            let choice = quote! { match crate::mutant::at(#site) { #(#numbers => { return #values; })* _ => {} } };
            block.stmts.insert(0, syn::parse2(choice).expect("a choice is a statement"));
        }
    }

    fn rewrite_struct(&mut self, expr: &mut ExprStruct) -> Option<TokenStream> {
        let written = expr.clone();
        let mut mutants = Vec::new();
        for (index, field) in written.fields.iter().enumerate() {
            for mutant in self.take(field.span(), Genre::StructField) {
                let mut changed = written.clone();
                let others = written.fields.iter().enumerate().filter(|(other, _)| *other != index);
                changed.fields = others.map(|(_, field)| field.clone()).collect();
                if !changed.fields.is_empty() {
                    changed.fields.push_punct(syn::token::Comma::default());
                }
                mutants.push((mutant, changed.to_token_stream()));
            }
        }
        visit_mut::visit_expr_struct_mut(self, expr);
        let first = mutants.first()?.0.number;
        self.sites.extend(mutants.iter().map(|(mutant, _)| (mutant.number, first)));
        Some(Self::choice(&mutants, &expr.to_token_stream()))
    }
}

impl VisitMut for Rewriter {
    fn visit_item_mut(&mut self, item: &mut Item) {
        if !matches!(item, Item::Const(_) | Item::Static(_)) {
            visit_mut::visit_item_mut(self, item);
        }
    }

    fn visit_impl_item_const_mut(&mut self, _: &mut ImplItemConst) {}

    fn visit_item_fn_mut(&mut self, function: &mut ItemFn) {
        self.rewrite_body(&function.sig, &mut function.block);
    }

    fn visit_impl_item_fn_mut(&mut self, function: &mut ImplItemFn) {
        self.rewrite_body(&function.sig, &mut function.block);
    }

    fn visit_arm_mut(&mut self, arm: &mut Arm) {
        if self.is_const {
            return;
        }
        let deleted = self.take(arm.span(), Genre::MatchArm);
        let guards = match &arm.guard {
            Some((_, guard)) => self.take(guard.span(), Genre::MatchArmGuard),
            None => Vec::new(),
        };
        visit_mut::visit_arm_mut(self, arm);
        let mut guard = arm.guard.take().map(|(_, guard)| guard.to_token_stream());
        if !guards.is_empty() {
            let changed: Vec<_> = guards.into_iter().map(|mutant| (mutant.clone(), parsed(&mutant))).collect();
            guard = guard.map(|written| Self::choice(&changed, &written));
        }
        for mutant in deleted {
            let number = number(&mutant);
            let written = guard.unwrap_or_else(|| quote!(true));
            guard = Some(quote!(crate::mutant::at(#number) != #number && (#written)));
        }
        arm.guard = guard.map(|guard| (Default::default(), Box::new(syn::parse2(guard).expect("a guard"))));
    }

    fn visit_expr_mut(&mut self, expr: &mut Expr) {
        if self.is_const {
            return;
        }
        let choice = match expr {
            Expr::Binary(binary) => {
                let mutants = self.take(binary.op.span(), Genre::BinaryOperator);
                let (left, right) = (binary.left.clone(), binary.right.clone());
                visit_mut::visit_expr_binary_mut(self, binary);
                if matches!(binary.op, BinOp::And(_)) && (has_let(&left) || has_let(&right)) {
                    self.unviable.extend(mutants.iter().map(|mutant| mutant.number));
                    return;
                }
                let changed = mutants.into_iter().map(|mutant| {
                    let operator = parsed(&mutant);
                    (mutant, quote!((#left) #operator (#right)))
                });
                let changed: Vec<_> = changed.collect();
                (!changed.is_empty()).then(|| Self::choice(&changed, &binary.to_token_stream()))
            }
            Expr::Unary(unary) => {
                let mutants = self.take(unary.op.span(), Genre::UnaryOperator);
                let operand = unary.expr.to_token_stream();
                visit_mut::visit_expr_unary_mut(self, unary);
                let changed: Vec<_> = mutants.into_iter().map(|mutant| (mutant, operand.clone())).collect();
                (!changed.is_empty()).then(|| Self::choice(&changed, &unary.to_token_stream()))
            }
            Expr::Struct(literal) => self.rewrite_struct(literal),
            _ => {
                visit_mut::visit_expr_mut(self, expr);
                None
            }
        };
        if let Some(choice) = choice {
            *expr = syn::parse2(choice).expect("a choice is an expression");
        }
    }
}

/// Which mutants stand where in a rewritten file, so that an error of the compiler finds the one that it is about.
pub fn extents(text: &str) -> Vec<(Range<usize>, Vec<usize>)> {
    let mut extents = Extents(Vec::new());
    extents.visit_file(&syn::parse_file(text).expect("a rewritten file is Rust"));
    extents.0
}

struct Extents(Vec<(Range<usize>, Vec<usize>)>);

fn literal(expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Int(number) => number.base10_parse().ok(),
            _ => None,
        },
        _ => None,
    }
}

/// The number in `crate::mutant::at(number)`.
fn asked_for(expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Call(call) if call.func.to_token_stream().to_string() == "crate :: mutant :: at" => {
            literal(&call.args[0])
        }
        Expr::Binary(binary) => asked_for(&binary.left),
        _ => None,
    }
}

impl<'a> Visit<'a> for Extents {
    fn visit_expr_match(&mut self, expr: &'a ExprMatch) {
        let is_choice = asked_for(&expr.expr).is_some();
        for arm in &expr.arms {
            if is_choice && let Pat::Lit(pattern) = &arm.pat {
                self.0.push((arm.body.span().byte_range(), literal(&Expr::Lit(pattern.clone())).into_iter().collect()));
            }
        }
        // Without an arm something may be left that no arm takes: the compiler shows what the arms choose by.
        let guards = expr.arms.iter().filter_map(|arm| arm.guard.as_ref());
        let deleted: Vec<usize> = guards.filter_map(|(_, guard)| asked_for(guard)).collect();
        if !deleted.is_empty() {
            self.0.push((expr.expr.span().byte_range(), deleted));
        }
        visit::visit_expr_match(self, expr);
    }
}
